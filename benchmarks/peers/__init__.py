"""The peers' programs: each sends the PUTs of its order from a process of its own, and prints one line of JSON."""
