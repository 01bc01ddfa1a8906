"""The recipe: its typed schema (`schema`), reading and overriding it (`load`), and its errors.

What a stage does with its section lives in that stage's own folder. This package never imports torch, and checks a
recipe in well under a second.
"""
