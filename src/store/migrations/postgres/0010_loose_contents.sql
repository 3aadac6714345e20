-- Contents that this database had and that may have no row in `blob`: from before they get their place until they have one, and from when
-- the last reference went until they are removed. A start removes these and no others.
create table blob_loose (
    blob_id text primary key -- SHA-256, 64 hexadecimal digits
);
