"""Explanations of networks that read images and texts: what each pixel, word or token does in an answer.

A kind of data makes `NetworkRow`s; a method takes one of them and nothing else.
"""
