"""The paper's tables and figures, each a grid of games beside the paper's own figures.

- `tables/*.yaml`, `document`: what the paper shows; `scales.yaml`, `scales`: how large the games are.
- `cells`: each cell's trials, which `midstream.command.sweep` plays.
- `games`, `shipped`: what was played, here or in the results that ship with midstream.
- `comparison`, `markdown`, `plots`: ours beside the paper's.
"""
