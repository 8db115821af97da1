"""Files from the network and out of archives: resumed, checked, and whole or not there at all."""
