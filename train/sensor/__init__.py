"""Networks from scratch for arrays of numbers: sensor windows and tables, for microcontrollers."""
