"""Players that wrap another attacker and restrict what it changes or sees; and several defenders in one."""
