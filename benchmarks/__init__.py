"""The product beside its limits and its peers, in one run on one machine."""
