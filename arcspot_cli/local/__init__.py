"""The whole stack on one machine: an AWS emulator, and a host that plays EC2."""
