"""The page that people look at: values in, one HTML document out, with nothing from outside and no script."""
