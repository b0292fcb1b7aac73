"""What is reported: the only folder that may open test parts."""
