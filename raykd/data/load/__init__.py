"""Files and hub data sets to checked columns."""
