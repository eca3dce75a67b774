CREATE TABLE review_domains (
	domain $NAME PRIMARY KEY,
	due BIGINT NOT NULL,
	lane INTEGER NOT NULL,
	looked BIGINT NOT NULL,
	ok INTEGER NOT NULL,
	unknown_since BIGINT NOT NULL,
	changed BIGINT NOT NULL,
	tlsrpt_since BIGINT NOT NULL,
	mx TEXT NOT NULL
);
CREATE INDEX review_domains_due ON review_domains (lane, due);
CREATE TABLE review_findings (
	domain $NAME NOT NULL,
	code TEXT NOT NULL,
	subject TEXT NOT NULL,
	first_seen BIGINT NOT NULL,
	last_seen BIGINT NOT NULL,
	missed BIGINT NOT NULL,
	closed BIGINT NOT NULL,
	times INTEGER NOT NULL,
	looks BIGINT NOT NULL,
	severity TEXT NOT NULL,
	owner TEXT NOT NULL,
	text TEXT NOT NULL,
	evidence TEXT NOT NULL,
	fix TEXT NOT NULL,
	rule TEXT NOT NULL,
	PRIMARY KEY (domain, code, subject, first_seen)
) $CLUSTERED;
CREATE INDEX review_findings_open ON review_findings (severity, code, first_seen) WHERE closed = 0;
