"""The open track: a published ``ModelNew`` runs unchanged in a disposable process that knows no secret."""
