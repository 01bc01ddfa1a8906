"""The recipe: its typed schema (`schema`, `sections`), reading and overriding (`load`), and its errors.

How a stage uses its section lives in that stage's own folder. This package never imports torch, and checks a recipe in
well under a second.
"""
