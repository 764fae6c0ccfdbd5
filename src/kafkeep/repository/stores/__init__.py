"""Places that hold objects by name: one small contract (`base`), several stores, and wrappers around any of them."""
