"""Results as figures and as one page of HTML. Reads what runs left; trains nothing and needs no network."""
