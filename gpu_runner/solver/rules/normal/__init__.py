"""Tasks made simpler before a rule is learned: colours by role, sides by a criterion, parts one by one."""
