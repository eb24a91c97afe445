"""Does the diagnosis name faults, and leave healthy flows alone?"""
