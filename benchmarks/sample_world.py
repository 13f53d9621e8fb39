"""Writes the bundled sample world: `python -m benchmarks.sample_world FOLDER` makes FOLDER/raw."""

import sys
from pathlib import Path

from rar_pipeline.sample.write import write_sample_world

if __name__ == "__main__":
    write_sample_world(Path(sys.argv[1]) / "raw")
