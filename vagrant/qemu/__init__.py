"""The parts of vagrant/rig: the guest's image, what a run takes in and out, the machine. Standard library only."""
