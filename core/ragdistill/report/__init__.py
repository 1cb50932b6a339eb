"""report.json, and what is made of it: the terminal's summary, report.html, the model card."""
