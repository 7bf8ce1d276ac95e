"""Taking a kernel home: a folder with a drop-in ``ModelNew`` that needs torch and no kforge."""
