CREATE TABLE alerts (
	name TEXT PRIMARY KEY,
	domain TEXT NOT NULL,
	owner TEXT NOT NULL,
	severity TEXT NOT NULL,
	urgent INTEGER NOT NULL,
	opened BIGINT NOT NULL,
	closed BIGINT NOT NULL,
	told INTEGER NOT NULL,
	pending INTEGER NOT NULL,
	pending_since BIGINT NOT NULL,
	at_once INTEGER NOT NULL,
	at_once_since BIGINT NOT NULL,
	body TEXT NOT NULL
);
CREATE INDEX alerts_pending ON alerts (pending, pending_since);
CREATE INDEX alerts_closed ON alerts (closed, urgent);
CREATE TABLE alert_messages (
	id $ID,
	message TEXT NOT NULL,
	kind TEXT NOT NULL,
	channel TEXT NOT NULL,
	recipient TEXT NOT NULL,
	made BIGINT NOT NULL,
	state TEXT NOT NULL,
	tries INTEGER NOT NULL,
	next BIGINT NOT NULL,
	body TEXT NOT NULL
);
CREATE INDEX alert_messages_due ON alert_messages (channel, state, next);
CREATE INDEX alert_messages_made ON alert_messages (made);
CREATE TABLE alert_turns (
	name TEXT PRIMARY KEY,
	at BIGINT NOT NULL
);
INSERT INTO alert_turns (name, at) VALUES ('digest', 0);
