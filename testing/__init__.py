"""What an application's own tests need: a running broker, a pool and a client, in one line (`testing.plugin`)."""
