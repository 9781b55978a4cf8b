"""Check: everything that nbkit claims, tried on this machine by one command, and the findings in one file."""
