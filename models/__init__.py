"""The database. The only package that knows SQL, asyncpg or pyDAL."""
