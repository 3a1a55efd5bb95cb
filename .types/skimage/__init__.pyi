# What we use of it; absent without the extra `demo`.
