"""The sections of the HTML report: one module each, which builds what its template shows."""
