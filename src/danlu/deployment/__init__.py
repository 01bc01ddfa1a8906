"""What a cluster needs to run danlu, as text: `training` for SLURM, Kubeflow and Ray.

Nothing here is sent anywhere, and nothing names the machine that it was written on.
"""
