-- Who put somebody into a group, so that how many groups a stranger puts people into has a bound.

-- Oneself where one made the group; null where it was before this was noted.
alter table members add column added_by bigint;
