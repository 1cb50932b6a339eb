"""The cascade: a stack of teachers against one of students."""
