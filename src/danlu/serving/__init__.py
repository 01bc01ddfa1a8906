"""An HTTP server over bundles: protocols, batches, workers, a store of versions."""
