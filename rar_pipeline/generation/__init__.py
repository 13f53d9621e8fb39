"""Generation: the language model that ranks candidates, and everything between a question and its grounded answer.

Reading order: `embedded` (the model in the box; `weights`, `network` and `server` run it), `client` (one call), `cache` (never the same call
twice), `abilities` (what an endpoint can do), `prompts` (data into text), `likelihood`, `label` and `generate` (the modes), `rank` (all
questions, one interface).
No reward, no metric and no table of the lake here.
"""
