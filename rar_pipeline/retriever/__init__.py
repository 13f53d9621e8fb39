"""The linear recurrent unit retriever: network, item table, training examples, Lightning module, search, versions."""
