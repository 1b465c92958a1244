-- The version of a member list is drawn at random at each change. A count would be the same in two histories
-- of a database (see change_epochs), and a node that keeps lists by their version would take one for the other.
alter table conversations alter column member_version set default random_number();
update conversations set member_version = random_number() where kind = 'group';
comment on column conversations.member_version is 'drawn anew at each change of the members; says nothing but whether two lists are the same';
