"""Models, properties and witnesses as files, and models of other libraries."""
