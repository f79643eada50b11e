"""The test suite. It is a package, so that helpers are imported as `from tests.clock import FakeClock`
and two folders may each have a test file of the same name."""
