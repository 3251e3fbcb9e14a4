PRAGMA journal_mode = WAL;
CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INTEGER, weight REAL);
CREATE TABLE visits (person INTEGER REFERENCES people, day INTEGER, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < @ROWS@)
	INSERT INTO people SELECT i, printf('person %08x', i * 2654435761 % 4294967296), i * 7919 % 97, i * 0.5 + 1.0 / i FROM n;
CREATE INDEX by_age ON people (age, name);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < @ROWS@ * 2)
	INSERT INTO visits SELECT i * 104729 % @ROWS@ + 1, i % 366, hex(zeroblob(i % 13)) FROM n;
CREATE INDEX by_person ON visits (person);
BEGIN;
UPDATE people SET weight = weight * 1.0625 WHERE age BETWEEN 20 AND 40;
DELETE FROM visits WHERE day % 7 = 3;
UPDATE people SET name = upper(name) WHERE id IN (SELECT person FROM visits GROUP BY person HAVING count(*) > 2);
COMMIT;
BEGIN;
DELETE FROM people;
ROLLBACK;
PRAGMA integrity_check;
PRAGMA foreign_key_check;
SELECT count(*), sum(age), printf('%.9e', sum(weight)), min(name), max(name) FROM people;
SELECT age, count(*), printf('%.12g', avg(weight)) FROM people GROUP BY age ORDER BY age LIMIT 20;
SELECT p.name, count(v.day), sum(v.day), group_concat(DISTINCT length(v.note)) FROM people p JOIN visits v ON v.person = p.id
	GROUP BY p.id ORDER BY sum(v.day) DESC, p.id LIMIT 20;
SELECT day, count(*) OVER (ORDER BY day ROWS 5 PRECEDING), row_number() OVER (ORDER BY day DESC) FROM (SELECT DISTINCT day FROM visits) ORDER BY day LIMIT 10;
SELECT json_group_array(json_object('a', age, 'n', c)) FROM (SELECT age, count(*) AS c FROM people GROUP BY age ORDER BY age);
SELECT printf('%.15g %.15g %.15g', sqrt(2.0), exp(1.5), ln(10.0) + sin(1.0));
WITH RECURSIVE
	x(i, a) AS (SELECT 0, -2.0 UNION ALL SELECT i + 1, a + 0.1 FROM x WHERE a < 1.2),
	y(b) AS (SELECT -1.0 UNION ALL SELECT b + 0.2 FROM y WHERE b < 1.0),
	m(n, cx, cy, zx, zy) AS (SELECT 0, a, b, 0.0, 0.0 FROM x, y
		UNION ALL SELECT n + 1, cx, cy, zx * zx - zy * zy + cx, 2.0 * zx * zy + cy FROM m WHERE zx * zx + zy * zy < 4.0 AND n < 20)
	SELECT sum(n), count(*), printf('%.12g', sum(zx)) FROM m;
VACUUM;
PRAGMA integrity_check;
