"""The verbs: one module each, composing the stages. What the command line calls and `import danlu` offers.

A verb holds no method of its own: it opens artefacts, hands values from stage to stage and writes what they give.
"""
