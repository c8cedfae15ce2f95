"""Minutes on a borrowed datacentre GPU, used to the full: pretraining, then test-time training measured.

`python -m bench.gpu_session --help` has the commands; docs/gpu-session.md tells how they fit together.
Nothing here needs more than torch, numpy and safetensors: the machine has no network.
"""
