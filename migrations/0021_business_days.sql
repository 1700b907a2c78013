-- Jobs whose business days leave out the days of a shared calendar are found when that calendar changes, without a look at all others.
CREATE INDEX jobs_with_calendar_rules ON jobs (team, id) WHERE (document #> '{schedule,calendar}') IS NOT NULL AND deleted_at IS NULL;
