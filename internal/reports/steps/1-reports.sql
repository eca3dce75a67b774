CREATE TABLE reports (
	id $ID,
	domain $NAME NOT NULL,
	window_start BIGINT NOT NULL,
	window_end BIGINT NOT NULL,
	digest $BYTES NOT NULL,
	submitter TEXT NOT NULL,
	unauthenticated TEXT NOT NULL,
	channel TEXT NOT NULL,
	source TEXT NOT NULL,
	received BIGINT NOT NULL,
	report_id TEXT NOT NULL,
	organization TEXT NOT NULL,
	contact TEXT NOT NULL,
	successful BIGINT NOT NULL,
	failed BIGINT NOT NULL,
	notes TEXT NOT NULL
);
CREATE UNIQUE INDEX reports_by_domain ON reports (domain, window_start, digest);
CREATE TABLE report_details (report BIGINT PRIMARY KEY, data $BYTES NOT NULL);
CREATE TABLE report_raw (report BIGINT PRIMARY KEY, data $BYTES NOT NULL);
CREATE TABLE report_days (
	domain $NAME NOT NULL,
	day INTEGER NOT NULL,
	submitter TEXT NOT NULL,
	authenticated INTEGER NOT NULL,
	policy_type TEXT NOT NULL,
	policy TEXT NOT NULL,
	reports BIGINT NOT NULL,
	successful BIGINT NOT NULL,
	failed BIGINT NOT NULL,
	PRIMARY KEY (domain, day, submitter, authenticated, policy_type, policy)
) $CLUSTERED;
CREATE TABLE report_failures (
	domain $NAME NOT NULL,
	day INTEGER NOT NULL,
	submitter TEXT NOT NULL,
	authenticated INTEGER NOT NULL,
	policy_type TEXT NOT NULL,
	result_type TEXT NOT NULL,
	mx TEXT NOT NULL,
	sessions BIGINT NOT NULL,
	PRIMARY KEY (domain, day, submitter, authenticated, policy_type, result_type, mx)
) $CLUSTERED;
CREATE TABLE report_asides (
	id $ID,
	digest $BYTES NOT NULL UNIQUE,
	received BIGINT NOT NULL,
	channel TEXT NOT NULL,
	source TEXT NOT NULL,
	submitter TEXT NOT NULL,
	domain $NAME NOT NULL,
	reason TEXT NOT NULL,
	detail TEXT NOT NULL,
	size BIGINT NOT NULL,
	data $BYTES NOT NULL
);
