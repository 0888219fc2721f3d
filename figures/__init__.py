"""Pictures, and the measurements that they show."""
