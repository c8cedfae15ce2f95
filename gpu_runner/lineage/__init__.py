"""One lineage of pretraining, continued wherever a machine has idle hours.

    python -m gpu_runner.lineage start|status|pause|resume|keep      (`make pretrain`)

`generations` decides (which checkpoint is the newest, what is kept), `standing` reads what a run tells of
itself, `process` holds the one background process, `files` the folders, `__main__` is the door. Nothing here
imports torch but `keep`, which reads the weights before it commits to them.
"""
