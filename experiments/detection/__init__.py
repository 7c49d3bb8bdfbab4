"""How well checkers find the attacked examples of each attack: this project's checkers, and those of others.

- `judging`: every checker judges one game, which is recorded.
- `recording`: what a checker saw of a game, as a file.
- `others`: detectors and defenders of other projects judge the same recordings.
- `tables`: the figures as Markdown.
"""
