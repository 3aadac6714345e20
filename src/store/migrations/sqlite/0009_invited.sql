-- The token in a deeplink opens what came of its own invitation, not everything that its person has anywhere. No references: tokens
-- outlive their invitation, and are good for as little as before.
alter table agent add column invitation_id integer;
update agent set invitation_id = (select max(invitation_id) from invitation i where i.agent_id = agent.agent_id);
create index agent_invitation on agent (invitation_id);
alter table api_token add column invitation_id integer;
alter table http_session add column invitation_id integer;
-- Tokens that were made with their invitations: in the same moment, for the same person.
update api_token set invitation_id = (select max(invitation_id) from invitation i
    where i.person_id = api_token.person_id and i.created_at = api_token.created_at having count(*) = 1)
where limited_to = 'guest' and person_id is not null;
