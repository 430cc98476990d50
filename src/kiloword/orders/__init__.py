"""When tokens become known and what each is fed. An order is a schedule, which is data, and a rule for the feed."""
