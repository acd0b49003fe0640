//! The composition root: client, stores, controllers, admin server, lease, and their ordered shutdown.
