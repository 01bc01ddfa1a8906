"""The public functions of danlu, one module per verb. The command line and `import danlu` call them.

A verb only composes: it opens artifacts, passes values from stage to stage and writes the results.
"""
