"""The bundled sample world: known films as facts, simulated conversations, raw files in the publishers' formats."""
