"""The pytest plugin. Its fixtures arrive together with the client; it is registered already so that installs keep."""
