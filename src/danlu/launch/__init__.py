"""Start trainings: in several processes of this machine, or on a cluster (SLURM, Kubeflow, Ray).

For clusters only files are written: nothing is sent anywhere, and nothing in them names this machine.
"""
